-- Takes the figures away; what proves an import stays in the other tables.
drop table if exists imports.sizes;
drop table if exists imports.steps;
