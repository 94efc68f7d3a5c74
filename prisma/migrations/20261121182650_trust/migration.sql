-- AlterTable
ALTER TABLE "user_connections" ADD COLUMN     "replaced_key" TEXT;

-- CreateTable
CREATE TABLE "authkit_sessions" (
    "id" UUID NOT NULL,
    "digest" TEXT NOT NULL,
    "identity" TEXT NOT NULL,
    "identity_type" TEXT NOT NULL,
    "allowed_origins" TEXT[] DEFAULT ARRAY[]::TEXT[],
    "platforms" TEXT[] DEFAULT ARRAY[]::TEXT[],
    "reconnect_id" UUID,
    "made_by" UUID,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "expires_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "authkit_sessions_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "authkit_sessions_digest_key" ON "authkit_sessions"("digest");

-- CreateIndex
CREATE INDEX "authkit_sessions_expires_at_idx" ON "authkit_sessions"("expires_at");

-- CreateIndex
CREATE INDEX "authkit_sessions_made_by_idx" ON "authkit_sessions"("made_by");

-- AddForeignKey
ALTER TABLE "authkit_sessions" ADD CONSTRAINT "authkit_sessions_made_by_fkey" FOREIGN KEY ("made_by") REFERENCES "api_keys"("id") ON DELETE CASCADE ON UPDATE CASCADE;
