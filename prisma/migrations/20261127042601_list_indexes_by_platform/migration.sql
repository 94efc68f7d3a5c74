CREATE INDEX IF NOT EXISTS "user_connections_platform_environment_identity_type_state_c_idx" ON "user_connections"("platform", "environment", "identity_type", "state", "created_at" DESC NULLS LAST, "id" DESC NULLS LAST);

DROP INDEX IF EXISTS "user_connections_platform_created_at_id_idx";
