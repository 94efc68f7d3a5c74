-- CreateTable
CREATE TABLE "user_connections" (
    "id" UUID NOT NULL,
    "user_id" TEXT NOT NULL,
    "identity_type" TEXT NOT NULL DEFAULT 'user',
    "platform" TEXT NOT NULL,
    "connection_key" TEXT NOT NULL,
    "environment" TEXT NOT NULL,
    "state" TEXT NOT NULL DEFAULT 'operational',
    "state_reason" TEXT,
    "name" TEXT,
    "tags" TEXT[] DEFAULT ARRAY[]::TEXT[],
    "metadata" JSONB NOT NULL DEFAULT '{}',
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "last_used_at" TIMESTAMPTZ(3),

    CONSTRAINT "user_connections_pkey" PRIMARY KEY ("id")
);

-- CreateTable
CREATE TABLE "api_keys" (
    "id" UUID NOT NULL,
    "name" TEXT NOT NULL,
    "digest" TEXT NOT NULL,
    "hint" TEXT NOT NULL,
    "scopes" TEXT[],
    "identity" TEXT,
    "identity_type" TEXT,
    "allowed_origins" TEXT[] DEFAULT ARRAY[]::TEXT[],
    "created_by" TEXT,
    "rotated_from" UUID,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expires_at" TIMESTAMPTZ(3),
    "revoked_at" TIMESTAMPTZ(3),
    "last_used_at" TIMESTAMPTZ(3),

    CONSTRAINT "api_keys_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "user_connections_connection_key_key" ON "user_connections"("connection_key");

-- CreateIndex
CREATE INDEX "user_connections_user_id_identity_type_created_at_id_idx" ON "user_connections"("user_id", "identity_type", "created_at" DESC, "id" DESC);

-- CreateIndex
CREATE INDEX "user_connections_user_id_created_at_id_idx" ON "user_connections"("user_id", "created_at" DESC, "id" DESC);

-- CreateIndex
CREATE INDEX "user_connections_platform_created_at_id_idx" ON "user_connections"("platform", "created_at" DESC, "id" DESC);

-- CreateIndex
CREATE INDEX "user_connections_state_created_at_id_idx" ON "user_connections"("state", "created_at" DESC, "id" DESC);

-- CreateIndex
CREATE INDEX "user_connections_created_at_id_idx" ON "user_connections"("created_at" DESC, "id" DESC);

-- CreateIndex
CREATE INDEX "user_connections_tags_idx" ON "user_connections" USING GIN ("tags");

-- CreateIndex
CREATE UNIQUE INDEX "api_keys_digest_key" ON "api_keys"("digest");

-- CreateIndex
CREATE INDEX "api_keys_created_at_id_idx" ON "api_keys"("created_at" DESC, "id" DESC);
