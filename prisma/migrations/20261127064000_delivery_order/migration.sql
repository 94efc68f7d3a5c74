-- DropIndex
DROP INDEX "webhook_deliveries_webhook_id_status_next_attempt_at_idx";

-- CreateIndex
CREATE INDEX "webhook_deliveries_webhook_id_status_next_attempt_at_sequen_idx" ON "webhook_deliveries"("webhook_id", "status", "next_attempt_at", "sequence");
