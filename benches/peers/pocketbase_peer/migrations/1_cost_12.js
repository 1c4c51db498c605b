/// The collection `users` that PocketBase makes by itself, with passwords at cost 12; the default is
/// a cost of 10. Everybody may sign up already.
migrate((app) => {
  const users = app.findCollectionByNameOrId("users");
  users.fields.getByName("password").cost = 12;
  users.createRule = "";
  app.save(users);
});
