CREATE TABLE work (id serial PRIMARY KEY, pid int NOT NULL);
CREATE TABLE migrated (at timestamptz NOT NULL DEFAULT now());
INSERT INTO migrated DEFAULT VALUES;
