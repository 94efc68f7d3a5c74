import { existsSync, readFileSync, writeFileSync } from 'node:fs';

/** Whether this system tells how much memory another process has; Linux does. */
export const canReadMemory = existsSync('/proc/self/status');

/** Resident memory of a process, in bytes. */
export function residentMemory(pid: number): number {
  return read(pid, 'VmRSS');
}

/** The most resident memory that a process had while `run` ran, in bytes. */
export async function peakMemory(pid: number, run: () => Promise<unknown>): Promise<number> {
  const exact = resetPeak(pid);
  let peak = residentMemory(pid);
  const timer = setInterval(() => (peak = Math.max(peak, residentMemory(pid))), 50);
  try {
    await run();
  } finally {
    clearInterval(timer);
  }
  return exact ? Math.max(peak, read(pid, 'VmHWM')) : peak;
}

function read(pid: number, field: 'VmRSS' | 'VmHWM'): number {
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;
}

/** False where a container does not allow it: the samples have to do then. */
function resetPeak(pid: number): boolean {
  try {
    // proc(5): 5 sets the peak to what is resident now.
    writeFileSync(`/proc/${pid}/clear_refs`, '5');
    return true;
  } catch {
    return false;
  }
}
