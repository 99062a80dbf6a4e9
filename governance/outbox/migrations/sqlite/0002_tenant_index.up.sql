-- Nothing reads by it, and numbers are given out by one writer at a time: the unique n
-- keeps a second one out, and the check of the invariants counts the numbers.
DROP INDEX gov_event_by_tenant;
