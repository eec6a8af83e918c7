"""All settings, from the environment or a TOML file; no other module reads either.

One source needs no file: COLLECTOR_… variables describe it. A TOML file (`--config`, COLLECTOR_CONFIG) has the same
names in lower case, `[[sources]]` tables for more sources, and `[[webhooks]]` tables for receivers of events. The
environment overrides the file, and a source's own table overrides both.
"""
