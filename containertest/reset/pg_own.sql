-- A process's own database and what goes with it: "stem", then a number, is a template of one of its levels.
SELECT datname FROM pg_database
WHERE datname = ANY (%(names)s::name[])
    OR starts_with(datname::text, %(stem)s) AND substr(datname::text, length(%(stem)s) + 1) ~ '^[0-9]+$'
