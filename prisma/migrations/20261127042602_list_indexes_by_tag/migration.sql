-- Tags together with the other filters, so that an index alone finds what has both. Prisma's schema cannot name an index on
-- an expression. The expression stands in src/connections/list-store.ts as well.
CREATE INDEX IF NOT EXISTS "user_connections_facets_idx" ON "user_connections" USING GIN
  (("tags" || ARRAY['environment ' || "environment", 'type ' || "identity_type", 'state ' || "state", 'platform ' || "platform"]));

DROP INDEX IF EXISTS "user_connections_tags_idx";
