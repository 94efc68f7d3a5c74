import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';

const started: { child: ChildProcess; ended: Promise<void> }[] = [];

/** Ends everything that was started. */
export async function stopAll(): Promise<void> {
  for (const { child } of started) child.kill('SIGTERM');
  await Promise.race([Promise.all(started.map(({ ended }) => ended)), wait(10_000)]);
}

/** Starts a program on one core. Its output goes to `output` (default: nowhere). */
export function run(program: string, args: string[], options: { core: number; env?: Record<string, string>; output?: number }): ChildProcess {
  const child = spawn('taskset', ['-c', String(options.core), program, ...args], { env: { ...process.env, ...options.env }, stdio: ['ignore', options.output ?? 'ignore', 'inherit'] });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  started.push({ child, ended });
  return child;
}

/** Waits until a URL answers at all. */
export async function untilAnswers(url: string): Promise<void> {
  for (let i = 0; i < 200; i += 1) {
    if (await fetch(url).then(() => true, () => false)) return;
    await wait(100);
  }
  throw new Error(`${url} does not answer`);
}

/** The most memory a process and its children have held, in MiB; undefined where /proc is not. */
export function peakMemory(pid: number): number | undefined {
  try {
    const own = Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(/\s+/).filter(Boolean).map(Number);
    return children.reduce((sum, child) => sum + (peakMemory(child) ?? 0), own);
  } catch {
    return undefined;
  }
}

/** Processor time a process and its children have used, in seconds; undefined where /proc is not. */
export function cpuSeconds(pid: number): number | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ');
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(/\s+/).filter(Boolean).map(Number);
    return children.reduce((sum, child) => sum + (cpuSeconds(child) ?? 0), (Number(fields[11]) + Number(fields[12])) / 100);
  } catch {
    return undefined;
  }
}
