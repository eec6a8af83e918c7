-- PostgreSQL's catalog entries for our tables and everything attached to them: one row per object, its kind and definition.
-- `tables` are ours, `relations` are these and our views, `functions` are ours. Names of schemas are left out, since every
-- database chooses its own. So is what only changes speed or looks: comments, owners, grants, storage, statistics, fill factors.
WITH ours AS (
    SELECT c.oid, c.relname, c.relkind, c.relname = ANY(:tables) AS is_table, c.relpersistence, c.relrowsecurity,
        c.relforcerowsecurity, c.relispartition, c.reloftype, c.relam, c.reloptions
    FROM pg_class c
    WHERE c.relnamespace = quote_ident(CURRENT_SCHEMA())::regnamespace AND c.relname = ANY(:relations)
),
extensions AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
-- Where a session looks for what it names without a schema, besides PostgreSQL's own; `is_first`: before PostgreSQL's own.
path AS (
    SELECT n.oid, array_position(x.path, n.nspname) < array_position(x.path, 'pg_catalog') AS is_first
    FROM pg_namespace n, (SELECT current_schemas(TRUE) AS path) x
    WHERE n.nspname = ANY(x.path) AND n.nspname <> 'pg_catalog'
)
SELECT 'table ' || o.relname AS object,
    concat_ws(' ', 'kind', o.relkind, 'persistence', o.relpersistence, CASE WHEN o.relrowsecurity THEN 'row security' END,
        CASE WHEN o.relforcerowsecurity THEN 'forced' END, CASE WHEN o.relispartition THEN 'partition' END,
        CASE WHEN o.reloftype <> 0 THEN 'typed' END, m.amname) AS detail
FROM ours o LEFT JOIN pg_am m ON m.oid = o.relam WHERE o.is_table
UNION ALL
SELECT 'view ' || o.relname, concat_ws(' ', 'options', array_to_string(o.reloptions, ',')) FROM ours o
WHERE NOT o.is_table AND (o.relkind <> 'v' OR o.reloptions IS NOT NULL)
UNION ALL
SELECT 'column ' || o.relname || '.' || a.attname,
    concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END,
        CASE WHEN d.adbin IS NOT NULL THEN 'default ' || pg_get_expr(d.adbin, d.adrelid) END,
        CASE WHEN a.attidentity <> '' THEN concat('identity ', a.attidentity) END,
        CASE WHEN a.attgenerated <> '' THEN concat('generated ', a.attgenerated) END,
        CASE WHEN a.attcollation NOT IN (0, t.typcollation) THEN 'another collation' END,
        CASE WHEN NOT a.attislocal OR a.attinhcount > 0 THEN 'inherited' END)
FROM ours o JOIN pg_attribute a ON a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = o.oid AND d.adnum = a.attnum
WHERE o.is_table
UNION ALL
SELECT 'constraint ' || o.relname || '.' || n.conname,
    concat_ws(' ', n.contype,
        (SELECT string_agg(a.attname, ',' ORDER BY k.i) FROM unnest(n.conkey) WITH ORDINALITY AS k (num, i)
         JOIN pg_attribute a ON a.attrelid = n.conrelid AND a.attnum = k.num),
        pg_get_expr(n.conbin, n.conrelid),
        CASE WHEN n.contype = 'f' THEN concat_ws(' ', 'to', f.relname,
            CASE WHEN f.relnamespace <> quote_ident(CURRENT_SCHEMA())::regnamespace THEN 'of another schema' END,
            (SELECT string_agg(a.attname, ',' ORDER BY k.i) FROM unnest(n.confkey) WITH ORDINALITY AS k (num, i)
             JOIN pg_attribute a ON a.attrelid = n.confrelid AND a.attnum = k.num),
            n.confupdtype, n.confdeltype, n.confmatchtype) END,
        CASE WHEN n.condeferrable THEN 'deferrable' END, CASE WHEN NOT n.convalidated THEN 'not validated' END,
        CASE WHEN to_jsonb(n) ->> 'conenforced' = 'false' THEN 'not enforced' END,
        CASE WHEN n.coninhcount > 0 THEN 'inherited' END)
FROM ours o JOIN pg_constraint n ON n.conrelid = o.oid LEFT JOIN pg_class f ON f.oid = n.confrelid
WHERE n.contype NOT IN ('n', 't')  -- NOT NULL is listed with the columns, triggers are listed separately
UNION ALL
SELECT 'index ' || o.relname || '.' || c.relname,
    concat_ws(' ', m.amname, CASE WHEN i.indisunique THEN 'unique' END, CASE WHEN i.indisprimary THEN 'primary' END,
        CASE WHEN NOT (i.indisvalid AND i.indisready AND i.indislive) THEN 'invalid' END,
        CASE WHEN NOT i.indimmediate THEN 'deferred' END,
        CASE WHEN to_jsonb(i) ->> 'indnullsnotdistinct' = 'true' THEN 'nulls not distinct' END,
        (SELECT string_agg(concat_ws(' ', pg_get_indexdef(i.indexrelid, k, FALSE), p.opcname, x.collname, i.indoption[k - 1]), ', '
            ORDER BY k)
         FROM generate_series(1, i.indnatts) AS k LEFT JOIN pg_opclass p ON p.oid = i.indclass[k - 1]
         LEFT JOIN pg_collation x ON x.oid = i.indcollation[k - 1]),
        CASE WHEN i.indpred IS NOT NULL THEN 'where ' || pg_get_expr(i.indpred, i.indrelid) END)
FROM ours o JOIN pg_index i ON i.indrelid = o.oid JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
UNION ALL
SELECT 'trigger ' || o.relname || '.' || CASE WHEN g.tgisinternal THEN n.conname || ' ' || p.proname ELSE g.tgname END,
    concat_ws(' ', g.tgenabled, g.tgtype, CASE WHEN NOT g.tgisinternal THEN p.proname END)
FROM ours o JOIN pg_trigger g ON g.tgrelid = o.oid JOIN pg_proc p ON p.oid = g.tgfoid
LEFT JOIN pg_constraint n ON n.oid = g.tgconstraint
WHERE NOT g.tgisinternal OR n.conrelid IN (SELECT oid FROM ours)  -- other tables may refer to ours
UNION ALL
SELECT 'rule ' || o.relname || '.' || r.rulename, concat_ws(' ', r.ev_type, r.ev_enabled)
FROM ours o JOIN pg_rewrite r ON r.ev_class = o.oid
WHERE o.is_table OR r.rulename <> '_RETURN' OR r.ev_enabled <> 'O'
UNION ALL
SELECT 'function ' || p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')'
        || CASE WHEN p.pronamespace <> quote_ident(CURRENT_SCHEMA())::regnamespace THEN ' of another schema' ELSE '' END,
    concat_ws(' ', p.prokind, l.lanname, p.provolatile, CASE WHEN p.prosecdef THEN 'as its owner' END,
        CASE WHEN p.proisstrict THEN 'strict' END, CASE WHEN p.prosqlbody IS NULL THEN 'bound when it is called' END,
        array_to_string(p.proconfig, ','), 'gives', pg_get_function_result(p.oid))
FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.proname = ANY(:functions) AND p.pronamespace::regnamespace::text IN (SELECT quote_ident(x) FROM unnest(current_schemas(TRUE)) x)
UNION ALL
-- An expression with a foreign function, operator or type may return anything, and so may one that reads a foreign table.
SELECT concat_ws(' ', u.object, 'uses', pg_describe_object(d.refclassid, d.refobjid, 0)), 'another''s'
FROM (
    SELECT 'view ' || o.relname AS object, 'pg_rewrite'::regclass AS classid, r.oid AS objid
    FROM ours o JOIN pg_rewrite r ON r.ev_class = o.oid
    UNION ALL
    SELECT 'function ' || p.proname, 'pg_proc'::regclass, p.oid FROM pg_proc p
    WHERE p.proname = ANY(:functions) AND p.pronamespace = quote_ident(CURRENT_SCHEMA())::regnamespace
    UNION ALL
    SELECT 'constraint ' || n.conname, 'pg_constraint'::regclass, n.oid FROM ours o JOIN pg_constraint n ON n.conrelid = o.oid
    UNION ALL
    SELECT 'default of ' || o.relname, 'pg_attrdef'::regclass, a.oid FROM ours o JOIN pg_attrdef a ON a.adrelid = o.oid
    UNION ALL
    SELECT 'index of ' || o.relname, 'pg_class'::regclass, i.indexrelid FROM ours o JOIN pg_index i ON i.indrelid = o.oid
    UNION ALL
    SELECT 'table ' || o.relname, 'pg_class'::regclass, o.oid FROM ours o WHERE o.is_table
) u
JOIN pg_depend d ON d.classid = u.classid AND d.objid = u.objid
WHERE d.deptype = 'n' AND d.refclassid <> 'pg_namespace'::regclass
    AND NOT (d.refclassid = 'pg_class'::regclass AND (
        d.refobjid IN (SELECT oid FROM ours)
        OR d.refobjid IN (SELECT q.objid FROM pg_depend q JOIN ours o ON o.oid = q.refobjid
                          WHERE q.classid = 'pg_class'::regclass AND q.refclassid = 'pg_class'::regclass
                              AND q.deptype IN ('a', 'i'))))
    AND NOT (u.classid = 'pg_constraint'::regclass AND d.refclassid IN ('pg_class'::regclass, 'pg_constraint'::regclass))
UNION ALL
SELECT 'function ' || p.oid::regprocedure::text, 'of the name of one of PostgreSQL''s own' FROM pg_proc p
WHERE (p.pronamespace IN (SELECT oid FROM path) OR p.pronamespace = 'pg_catalog'::regnamespace AND p.oid >= 16384)
    AND ('pg_proc'::regclass, p.oid) NOT IN (SELECT classid, objid FROM extensions)
    AND EXISTS (SELECT FROM pg_proc q
                WHERE q.proname = p.proname AND q.pronamespace = 'pg_catalog'::regnamespace AND q.oid < 16384)
UNION ALL
SELECT 'type ' || t.oid::regtype, 'of the name of one of PostgreSQL''s own' FROM pg_type t
WHERE t.typnamespace IN (SELECT oid FROM path WHERE is_first OR oid = quote_ident(CURRENT_SCHEMA())::regnamespace)
    AND ('pg_type'::regclass, t.oid) NOT IN (SELECT classid, objid FROM extensions)
    AND EXISTS (SELECT FROM pg_type q WHERE q.typname = t.typname AND q.typnamespace = 'pg_catalog'::regnamespace)
UNION ALL
SELECT concat_ws(' ', 'cast', a.castsource::regtype, 'to', a.casttarget::regtype), 'of another' FROM pg_cast a
JOIN pg_type s ON s.oid = a.castsource JOIN pg_type t ON t.oid = a.casttarget
WHERE a.oid >= 16384 AND ('pg_cast'::regclass, a.oid) NOT IN (SELECT classid, objid FROM extensions)
    AND 'pg_catalog'::regnamespace IN (s.typnamespace, t.typnamespace) AND s.typnamespace = t.typnamespace
UNION ALL
SELECT 'policy ' || o.relname || '.' || y.polname, y.polcmd::text FROM ours o JOIN pg_policy y ON y.polrelid = o.oid
UNION ALL
SELECT 'child of ' || o.relname || ': ' || h.inhrelid::regclass::text, 'inherits'
FROM ours o JOIN pg_inherits h ON h.inhparent = o.oid
UNION ALL
SELECT 'parent of ' || o.relname || ': ' || h.inhparent::regclass::text, 'inherited'
FROM ours o JOIN pg_inherits h ON h.inhrelid = o.oid
UNION ALL
SELECT 'sequence ' || c.relname,
    concat_ws(' ', format_type(q.seqtypid, NULL), q.seqstart, q.seqincrement, q.seqmin, q.seqmax, q.seqcycle)
FROM pg_class c JOIN pg_sequence q ON q.seqrelid = c.oid
JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i')
JOIN ours o ON o.oid = d.refobjid WHERE d.refclassid = 'pg_class'::regclass
UNION ALL
SELECT 'event trigger ' || e.evtname, concat_ws(' ', e.evtevent, e.evtenabled) FROM pg_event_trigger e
WHERE e.evtenabled <> 'D' AND ('pg_event_trigger'::regclass, e.oid) NOT IN (SELECT classid, objid FROM extensions)
UNION ALL
SELECT 'operator ' || p.oid::regoperator::text, 'of another' FROM pg_operator p
WHERE (p.oprnamespace IN (SELECT oid FROM path) OR p.oprnamespace = 'pg_catalog'::regnamespace AND p.oid >= 16384)
    AND ('pg_operator'::regclass, p.oid) NOT IN (SELECT classid, objid FROM extensions)
UNION ALL
SELECT 'table ' || o.relname || ' is hidden by another of its name', 'in ' || c.relnamespace::regnamespace::text
FROM ours o JOIN pg_class c ON c.oid = to_regclass(quote_ident(o.relname)) WHERE c.oid <> o.oid
UNION ALL
-- Default settings of sessions of this database or of a role which make a query see other rows, or give its words another
-- meaning. Settings of formats, planning, limits and logging do neither.
SELECT concat_ws(' ', 'setting', s.name, CASE WHEN r.setrole = 0 THEN 'of the database' ELSE 'of role ' || pg_get_userbyid(r.setrole) END),
    v.value
FROM pg_db_role_setting r
CROSS JOIN LATERAL (SELECT split_part(x, '=', 1) AS name, substr(x, strpos(x, '=') + 1) AS value FROM unnest(r.setconfig) x) v
JOIN pg_settings s ON lower(s.name) = lower(v.name)
WHERE r.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    AND v.value IS DISTINCT FROM s.boot_val
    AND (s.category = 'Developer Options' OR s.category LIKE 'Version and Platform Compatibility%'
        OR s.name IN ('row_security', 'session_replication_role'))
    AND s.name NOT IN ('array_nulls', 'backslash_quote', 'escape_string_warning', 'lo_compat_privileges',
        'quote_all_identifiers', 'synchronize_seqscans')
    -- Roles that may not read our tables may have any settings.
    AND (r.setrole = 0 OR EXISTS (SELECT FROM ours o WHERE o.is_table AND has_table_privilege(r.setrole, o.oid, 'SELECT')))
