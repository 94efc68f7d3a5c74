import { type ChildProcess, spawn } from 'node:child_process';
import type { Test } from 'tap';
import { rootKey, secretKey } from './gateway.js';
import { programArguments } from './process.js';

/** A gateway in a process of its own, which a test can kill. */
export type GatewayProcess = {
  url: string;
  pid: number;
  log: string[];
  /** Whether the process has not ended. */
  alive(): boolean;
  /** The code it ended with; null while it runs, and after a signal. */
  exitCode(): number | null;
  request(method: string, path: string, json?: unknown, headers?: Record<string, string>): Promise<{ status: number; headers: Headers; json: any }>;
  /** Sends a signal and waits for the end. */
  end(signal: NodeJS.Signals): Promise<void>;
};

/**
 * Starts `src/server.ts` on Postgres, or without a URL on the embedded database in the DATA_DIR of `env`, and resolves when
 * it listens; killed when the test ends.
 */
export async function startGatewayProcess(t: Test, databaseUrl: string | undefined, upstream: string, env: Record<string, string> = {}): Promise<GatewayProcess> {
  const child = spawn(process.execPath, programArguments('src/server.ts'), {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env['PATH'], HOST: '127.0.0.1', PORT: '0', ...(databaseUrl ? { DATABASE_URL: databaseUrl } : {}), PICA_BASE_URL: upstream, PICA_SECRET_KEY: secretKey,
      ADMIN_API_KEY: rootKey, RECONCILE_INTERVAL_MS: '0', ...env,
    },
  });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal);
    await exited;
  };
  t.teardown(() => end('SIGKILL'));
  const log: string[] = [];
  const url = await listening(child, log);
  return {
    url, pid: child.pid!, log, end, alive: () => child.exitCode === null && child.signalCode === null, exitCode: () => child.exitCode,
    async request(method, path, json = undefined, headers = {}) {
      const response = await fetch(`${url}${path}`, {
        method,
        headers: { 'x-api-key': rootKey, ...(json === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
        ...(json === undefined ? {} : { body: JSON.stringify(json) }),
      });
      const text = await response.text();
      return { status: response.status, headers: response.headers, json: text ? JSON.parse(text) : undefined };
    },
  };
}

function listening(child: ChildProcess, log: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const read = (chunk: Buffer): void => {
      log.push(...chunk.toString().split('\n').filter(Boolean));
      const found = /listening at (http:\/\/[\d.]+:\d+)/.exec(chunk.toString())?.[1];
      if (found) resolve(found);
    };
    child.stdout!.on('data', read);
    child.stderr!.on('data', read);
    child.once('exit', (code) => reject(new Error(`the gateway ended with ${code}: ${log.join('\n')}`)));
  });
}
