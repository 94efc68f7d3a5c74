-- CreateIndex
CREATE INDEX "api_keys_created_by_created_at_id_idx" ON "api_keys"("created_by", "created_at" DESC, "id" DESC);
