-- AlterTable
ALTER TABLE "reconciler_progress" ADD COLUMN     "complete_since" TIMESTAMPTZ(3),
ADD COLUMN     "position" JSONB,
ADD COLUMN     "skipped" INTEGER NOT NULL DEFAULT 0,
ADD COLUMN     "total" INTEGER;

-- CreateTable
CREATE TABLE "connection_comparisons" (
    "connection_id" UUID NOT NULL,
    "compared_at" TIMESTAMPTZ(3) NOT NULL,

    CONSTRAINT "connection_comparisons_pkey" PRIMARY KEY ("connection_id")
);
