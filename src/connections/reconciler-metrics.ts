import type { Logger } from 'pino';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { RunObserver } from './reconciler.js';

/** Makes runs visible: metrics of this replica, and one log line for each run. */
export function observeRuns(registry: Registry, log: Logger): RunObserver {
  const registers = [registry];
  const lastRun = new Gauge({ name: 'reconciler_last_run_timestamp_seconds', help: 'When this replica last finished a run, Unix time.', registers });
  const lastDuration = new Gauge({ name: 'reconciler_last_run_duration_seconds', help: 'How long that run took.', registers });
  const runs = new Counter({ name: 'reconciler_runs_total', help: 'Runs that ended.', labelNames: ['outcome'], registers });
  const rows = new Counter({ name: 'reconciler_rows_checked_total', help: 'Rows compared with the vault.', registers });
  const drift = new Counter({ name: 'reconciler_drift_total', help: 'Rows that differed from the vault.', labelNames: ['kind'], registers });
  const failures = new Counter({ name: 'reconciler_identities_failed_total', help: 'Identities the vault gave no answer for.', registers });

  return ({ outcome, milliseconds, resumed, summary, cause }) => {
    runs.inc({ outcome });
    rows.inc(summary.checked);
    failures.inc(summary.failed);
    for (const kind of ['created', 'updated', 'removed'] as const) drift.inc({ kind }, summary[kind]);
    if (outcome === 'finished') {
      lastRun.setToCurrentTime();
      lastDuration.set(milliseconds / 1000);
    }
    const line = { outcome, ms: milliseconds, resumed, ...summary, ...(cause === undefined ? {} : { err: cause }) };
    log[outcome === 'paused' ? 'warn' : 'info'](line, 'reconciler run');
  };
}
