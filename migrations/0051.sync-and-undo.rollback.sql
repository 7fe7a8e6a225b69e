-- Goes back to imports that are neither caught up with nor undone. Undone imports, of which no rows are left, are
-- forgotten; the record of the syncs is put aside.
set local lock_timeout = '3s';

drop function if exists imports.origin_of(text, bigint);

do $$
begin
    if to_regclass('imports.syncs') is not null then
        alter table imports.syncs rename to syncs_rolled_back;
    end if;
end
$$;

alter table imports.tables drop column if exists ids;

delete from imports.runs
where status = 'undone';
drop index if exists imports.sources_sha256_idx;
alter table imports.sources drop column if exists undone_at;
alter table imports.sources drop constraint if exists sources_sha256_key;
alter table imports.sources add constraint sources_sha256_key unique (sha256);
comment on column imports.sources.sha256 is 'SHA-256 of the snapshot, which is the same for the same content';

alter table imports.runs drop constraint if exists runs_status_check;
alter table imports.runs add constraint runs_status_check check (
    status in ('running', 'verified', 'rejects', 'different')
);
comment on column imports.runs.status is
'running: not finished (the same command goes on) · verified: all loaded and equal · rejects: verified, some rows kept in imports.rejected · different: verification found differences'; -- noqa: LT05
