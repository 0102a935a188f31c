-- Churn makes statistics lie: the hot statements have one right plan each, whatever ANALYZE saw last.
select set_config('plan_cache_mode', 'force_generic_plan', false),
       set_config('enable_seqscan', 'off', false),
       set_config('enable_bitmapscan', 'off', false)
