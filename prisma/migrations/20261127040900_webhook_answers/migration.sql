-- AlterTable
ALTER TABLE "webhook_deliveries" ADD COLUMN     "waited_seconds" INTEGER NOT NULL DEFAULT 0;

-- AlterTable
ALTER TABLE "webhooks" ADD COLUMN     "inactive_reason" TEXT;
