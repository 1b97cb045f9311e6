"""The embedded servers: PostgreSQL, Azurite and a scripted HTTP source."""
