import type { Logger } from 'pino';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Run } from './progress-store.js';
import type { RunObserver } from './reconciler.js';

/**
 * Makes runs visible: metrics of what this replica did and of how far the run is that all replicas share, a log line for
 * each run, and one with the ids of what differed from the vault. `intervalMs` is how often everything is to be compared.
 */
export function observeRuns(registry: Registry, log: Logger, intervalMs: number): RunObserver {
  const registers = [registry];
  const lastRun = new Gauge({ name: 'reconciler_last_run_timestamp_seconds', help: 'When this replica last finished a run, Unix time.', registers });
  const lastDuration = new Gauge({ name: 'reconciler_last_run_duration_seconds', help: 'How long that run took.', registers });
  const runs = new Counter({ name: 'reconciler_runs_total', help: 'Runs that ended.', labelNames: ['outcome'], registers });
  const rows = new Counter({ name: 'reconciler_rows_checked_total', help: 'Rows compared with the vault.', registers });
  const drift = new Counter({ name: 'reconciler_drift_total', help: 'Rows that differed from the vault.', labelNames: ['kind'], registers });
  const failures = new Counter({ name: 'reconciler_failures_total', help: 'Pages and questions the vault gave no answer for.', registers });
  const skipped = new Counter({ name: 'reconciler_rows_skipped_total', help: 'Rows of the vault that were not usable.', registers });
  const progress = new Gauge({ name: 'reconciler_progress_ratio', help: 'How much of the vault the current run has read; 1 when it has ended.', registers });
  let completeSince: number | undefined;
  new Gauge({
    name: 'reconciler_oldest_comparison_timestamp_seconds', registers,
    help: 'Every connection was compared with the vault at this time or later, Unix time; 0 before the first run has ended.',
    collect() { this.set((completeSince ?? 0) / 1000); },
  });
  new Gauge({
    name: 'reconciler_lag_seconds', registers,
    help: 'How much longer than RECONCILE_INTERVAL_MS ago the oldest comparison was; 0 while runs keep up, and before the first has ended.',
    collect() { this.set(completeSince === undefined || intervalMs === 0 ? 0 : Math.max(0, Date.now() - completeSince - intervalMs) / 1000); },
  });

  return {
    ended({ outcome, milliseconds, resumed, summary, cause }) {
      runs.inc({ outcome });
      rows.inc(summary.checked);
      failures.inc(summary.failed);
      skipped.inc(summary.skipped);
      if (outcome === 'finished') {
        lastRun.setToCurrentTime();
        lastDuration.set(milliseconds / 1000);
      }
      const line = { outcome, ms: milliseconds, resumed, ...summary, ...(cause === undefined ? {} : { err: cause }) };
      log[outcome === 'paused' ? 'warn' : 'info'](line, 'reconciler run');
    },
    drifted({ created, updated, removed }) {
      const ids: Record<string, string[]> = {};
      for (const [kind, rows] of Object.entries({ created, updated, removed })) {
        drift.inc({ kind }, rows.length);
        if (rows.length > 0) ids[kind] = rows.map(({ id }) => id);
      }
      if (Object.keys(ids).length > 0) log.info(ids, 'connections differed from the vault');
    },
    progressed(run) {
      completeSince = run.completeSince?.getTime();
      progress.set(ratioOf(run));
    },
  };
}

function ratioOf({ finishedAt, progress: { position, total } }: Run): number {
  if (finishedAt || (position && 'after' in position)) return 1;
  return position && total ? Math.min(1, position.seen / total) : 0;
}
