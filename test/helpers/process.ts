import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';

/** A program of ours running as a process of its own; `output` is everything it has printed so far. */
export type Program = { child: ChildProcess; output(): string; exit: Promise<number | null> };

/** Node's arguments that run a program of the clone (`src/server.ts`): compiled where the test is compiled, else through tsx. */
export function programArguments(file: string): string[] {
  const compiled = import.meta.url.endsWith('.js') && file.startsWith('src/');
  return compiled ? [fileURLToPath(new URL(`../../${file.slice(0, -3)}.js`, import.meta.url))] : ['--import', 'tsx', file];
}

/** Starts a TypeScript file with exactly this environment (and PATH), in the clone unless `cwd` is another one; kills it when the test ends. */
export function runProgram(t: Test, file: string, env: Record<string, string>, args: string[] = [], cwd = process.cwd()): Program {
  const child = spawn(process.execPath, [...programArguments(file), ...args], { cwd, env: { PATH: process.env['PATH'], ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  child.stdout.on('data', (chunk: Buffer) => (text += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (text += chunk.toString()));
  const exit = once(child, 'close').then(([code]) => code as number | null);
  t.teardown(() => void child.kill('SIGKILL'));
  return { child, output: () => text, exit };
}

/** Resolves once `url` answers 2xx; rejects with the program's output when the program ends first. */
export async function untilAnswers(program: Program, url: string): Promise<void> {
  let code: number | null | undefined;
  void program.exit.then((value) => (code = value));
  for (;;) {
    if (code !== undefined) throw new Error(`ended with ${code}: ${program.output()}`);
    const answer = await fetch(url).catch(() => undefined);
    await answer?.body?.cancel();
    if (answer?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
