import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { pause } from './ledger.js';
import type { Scope } from './scope.js';

/** Credentials of a chaos run; they open nothing else. */
export const rootKey = 'chaos-root-key-4f0c19d2b7e85a36b1d4';

/** One gateway of several: a production build in a process of its own, on a fixed port. */
export class Replica {
  readonly url: string;
  /** Ends that no round asked for. */
  readonly deaths: string[] = [];
  #env: Record<string, string>;
  #log: string;
  #child: ChildProcess | undefined;
  #expected = false;

  constructor(scope: Scope, port: number, directory: string, env: Record<string, string>) {
    this.url = `http://127.0.0.1:${port}`;
    this.#env = { ...env, PORT: String(port) };
    this.#log = join(directory, `replica-${port}.log`);
    scope.test.teardown(() => this.stop('SIGKILL'));
  }

  /** Starts it and resolves when it is ready, or after 60 s rejects. */
  async start(): Promise<void> {
    const output = openSync(this.#log, 'a');
    const child = spawn(process.execPath, ['dist/server.js'], { stdio: ['ignore', output, output], env: { PATH: process.env['PATH'], NODE_ENV: 'production', ...this.#env } });
    closeSync(output);
    this.#child = child;
    this.#expected = false;
    child.once('exit', (code, signal) => {
      if (!this.#expected) this.deaths.push(`${this.url} ended with ${signal ?? code}`);
    });
    for (let i = 0; i < 600; i += 1) {
      if (child.exitCode !== null) throw new Error(`${this.url} ended with ${child.exitCode}; see ${this.#log}`);
      if (await fetch(`${this.url}/readyz`).then(({ ok }) => ok, () => false)) return;
      await pause(100);
    }
    throw new Error(`${this.url} is not ready; see ${this.#log}`);
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  /** Ends it and resolves with its exit code; null when a signal ended it. */
  async stop(signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null;
    this.#expected = true;
    const exited = once(child, 'exit') as Promise<[number | null]>;
    child.kill(signal);
    return (await exited)[0];
  }

  /** Starts it again if it ended by itself. */
  async revive(): Promise<void> {
    const child = this.#child;
    if (child && (child.exitCode !== null || child.signalCode !== null)) await this.start();
  }
}
