-- Roles beside the built-in ones `support` and `admin`, which are not here, and who has which. Every user has the
-- role `user`, which is not here either.
CREATE TABLE roles (
    name       text        NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT roles_pkey PRIMARY KEY (name)
);

CREATE TABLE role_permissions (
    role       text NOT NULL,
    permission text NOT NULL,
    CONSTRAINT role_permissions_pkey PRIMARY KEY (role, permission),
    CONSTRAINT role_permissions_role_fkey FOREIGN KEY (role) REFERENCES roles (name) ON DELETE CASCADE
);

CREATE TABLE user_roles (
    user_id    uuid        NOT NULL,
    role       text        NOT NULL,
    granted_by text        NOT NULL,
    granted_at timestamptz NOT NULL,
    CONSTRAINT user_roles_pkey PRIMARY KEY (user_id, role),
    CONSTRAINT user_roles_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE
);

-- To count the holders of a role.
CREATE INDEX user_roles_role_idx ON user_roles (role);
