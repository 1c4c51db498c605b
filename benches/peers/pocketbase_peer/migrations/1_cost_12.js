/// The collection `users` that PocketBase creates by default, with passwords at cost 12 instead of the default
/// of 10. Signup is open to the public already.
migrate((app) => {
  const users = app.findCollectionByNameOrId("users");
  users.fields.getByName("password").cost = 12;
  users.createRule = "";
  app.save(users);
});
