import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Contender } from './contenders.js';
import { cpuSeconds } from './processes.js';

/** One kind of load: what is asked for, over how many connections. */
export type Load = { name: string; path: string; connections: number; bodyBytes: number };
/** The loads, in the order they run. */
export const loads: readonly Load[] = [
  { name: 'GET 300 B', path: '/small', connections: 64, bodyBytes: 0 },
  { name: 'POST 1 KiB', path: '/post', connections: 64, bodyBytes: 1024 },
  { name: 'GET 64 KiB', path: '/medium', connections: 64, bodyBytes: 0 },
  { name: 'GET 1 MiB', path: '/large', connections: 64, bodyBytes: 0 },
  { name: 'one connection', path: '/small', connections: 1, bodyBytes: 0 },
];

/** `cpu`: processor time of the contender per request, in microseconds; it hardly notices what else the machine does. */
export type Result = { perSecond: number; p50: number; p99: number; failed: number; cpu: number };

/** Runs wrk against a contender, on the core the contenders are not on. Latencies are milliseconds. */
export async function measure(directory: string, load: Load, contender: Contender, seconds: number): Promise<Result> {
  const script = join(directory, `${load.bodyBytes}.lua`);
  const body = load.bodyBytes > 0 ? `wrk.method = 'POST'\nwrk.body = '"' .. string.rep('z', ${load.bodyBytes - 2}) .. '"'\nwrk.headers['content-type'] = 'application/json'\n` : '';
  await writeFile(script, `${body}done = function(summary, latency)
    local errors = summary.errors
    io.write(string.format('RESULT %f %f %f %d %d', summary.requests / summary.duration * 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout, summary.requests))
  end`);
  const headers = Object.entries(contender.headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]);
  const { pid } = contender.process;
  const before = cpuSeconds(pid!) ?? NaN;
  const { stdout } = await promisify(execFile)('taskset', [
    '-c', '1', 'wrk', '-t1', `-c${load.connections}`, `-d${seconds}s`, '--timeout', '10s', '-s', script, ...headers, contender.url + load.path,
  ]);
  const [perSecond, p50, p99, failed, requests] = /RESULT (.*)/.exec(stdout)![1]!.split(' ').map(Number);
  return { perSecond: perSecond!, p50: p50!, p99: p99!, failed: failed!, cpu: ((cpuSeconds(pid!) ?? NaN) - before) / requests! * 1e6 };
}
