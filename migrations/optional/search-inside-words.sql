-- transactional: false
-- Search inside words: 결제 finds 소액결제가, too. Korean joins nouns without a space, and a full-text index knows the
-- beginnings of words only. A word of two or more syllables stands in a text only if each two of its syllables that
-- follow each other do, so the pairs are indexed, and a hit is read again. Every text has about as many pairs as
-- syllables: this index is larger than that of the words and takes longer to build, which is why it can be left out.
-- 'callytics migrate --with search-inside-words' makes it, --without takes it away.
-- As in 0060 the partitions are indexed one by one, so that writers wait for the index of their month only.

create or replace function syllable_pairs(said text) returns text[]
language sql immutable strict parallel safe cost 1000
as $$
    select array_agg(first || second)
    from (select string_to_array(normalize(left(said, 100000)), null) as syllables) as split
    cross join unnest(syllables, syllables[2:]) as pair (first, second)
    where first collate "C" between '가' and '힣' and second collate "C" between '가' and '힣'
$$;

comment on function syllable_pairs(text) is 'Each two Hangul syllables of a text that follow each other, in NFC';

do $$
declare
    part record;
begin
    for part in
        select
            tree.relid::regclass as name,
            c.relname,
            case parent when 'utterances'::regclass then 'text' else 'text_content' end as said
        from unnest(array['transcriptions', 'utterances']::regclass[]) as parent
        cross join pg_partition_tree(parent) as tree
        join pg_class as c on c.oid = tree.relid
        where tree.isleaf
        order by c.relname
    loop
        perform set_config('lock_timeout', '3s', true);
        -- The name that PostgreSQL gives the index of a month to come.
        execute format(
            'create index if not exists %I on %s using gin (syllable_pairs(%I))',
            part.relname || '_syllable_pairs_idx', part.name, part.said
        );
        commit;
    end loop;
end
$$;

create index if not exists transcriptions_inside_words_idx on transcriptions using gin (syllable_pairs(text_content));

create index if not exists utterances_inside_words_idx on utterances using gin (syllable_pairs(text));
