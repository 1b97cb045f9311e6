-- Read-only access to the warehouse.

GRANT USAGE ON SCHEMA "dbo" TO rogo_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA "dbo" TO rogo_reader;
