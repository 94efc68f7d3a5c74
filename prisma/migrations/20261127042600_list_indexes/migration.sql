-- A migration for each index: writes wait while one is built (seconds for a million rows), and can go on before the next.
-- One that was built beforehand (CREATE INDEX CONCURRENTLY, under the same name) is kept.
-- NULLS LAST keeps the planner from taking another index for the order of this one (src/connections/list-store.ts).
CREATE INDEX IF NOT EXISTS "user_connections_environment_identity_type_state_created_at_idx" ON "user_connections"("environment", "identity_type", "state", "created_at" DESC NULLS LAST, "id" DESC NULLS LAST);

DROP INDEX IF EXISTS "user_connections_state_created_at_id_idx";
