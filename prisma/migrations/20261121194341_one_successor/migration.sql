-- CreateIndex
CREATE UNIQUE INDEX "api_keys_rotated_from_key" ON "api_keys"("rotated_from");
