-- Takes the view away; what it shows is in the schema imports.
drop view if exists import_summaries;
