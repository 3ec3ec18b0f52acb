-- Users for the tests: an administrator, two regular users and an inactive one.
--
-- The schema has no column for a role or for being active: the administrator is told by the address, and
-- inactive is who has not been changed since 2020. All dates are fixed, so that tests can compare them.
-- The ids are left to the sequence: 1 to 4 in an empty database, and the next user gets 5.

INSERT INTO users (email, name, created_at, updated_at) VALUES
    ('admin@example.com', 'Admin', '2024-01-01 00:00:00+00', '2024-01-01 00:00:00+00'),
    ('ada@example.com', 'Ada Lovelace', '2024-01-02 09:30:00+00', '2024-03-04 12:00:00+00'),
    ('bob@example.com', 'Bob O''Brien', '2024-01-03 10:15:00+00', '2024-01-03 10:15:00+00'),
    ('inactive@example.com', 'Ina Inactive', '2019-06-01 08:00:00+00', '2019-06-02 08:00:00+00');
