-- Pin the plans of the hot statements: each has one right plan, and churn makes the statistics that
-- ANALYZE collects wrong.
select set_config('plan_cache_mode', 'force_generic_plan', false),
       set_config('enable_seqscan', 'off', false),
       set_config('enable_bitmapscan', 'off', false)
