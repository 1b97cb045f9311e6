"""Embedded servers: PostgreSQL, Azurite and a scripted HTTP source."""
