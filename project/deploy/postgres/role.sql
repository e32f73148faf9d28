-- Creates the unprivileged role `classifier` and transfers the service's tables to it. Runs at each start, as the superuser
-- on the database's own socket.
\set ON_ERROR_STOP on
\getenv password POSTGRES_PASSWORD

SELECT 'CREATE ROLE classifier' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'classifier')
\gexec
ALTER ROLE classifier LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD :'password';
ALTER DATABASE postgres OWNER TO classifier;
ALTER SCHEMA public OWNER TO classifier;

-- What earlier versions created as the superuser. A table takes its sequences and indexes with it.
SELECT format('ALTER TABLE public.%I OWNER TO classifier', relname) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') AND relowner <> 'classifier'::regrole
  AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
\gexec
SELECT format('ALTER SEQUENCE public.%I OWNER TO classifier', relname) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'S' AND relowner <> 'classifier'::regrole
  AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype IN ('a', 'i', 'e'))
\gexec
SELECT format('ALTER ROUTINE %s OWNER TO classifier', oid::regprocedure) FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND proowner <> 'classifier'::regrole
  AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
\gexec
SELECT format('ALTER TYPE %s OWNER TO classifier', oid::regtype) FROM pg_type
WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd') AND typowner <> 'classifier'::regrole
  AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_type.oid AND deptype = 'e')
\gexec

-- From here on, the superuser connects within the database's container only.
ALTER ROLE postgres PASSWORD NULL;
