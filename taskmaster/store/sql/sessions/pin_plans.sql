-- Pin the plans of the hot statements: each has one right plan, and churn makes the statistics that
-- ANALYZE collects wrong.
set plan_cache_mode = 'force_generic_plan';
set enable_seqscan = off;
set enable_bitmapscan = off;
set enable_indexscan = on;
set enable_nestloop = on;
set enable_sort = on;
