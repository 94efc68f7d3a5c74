import { DEFAULT_SECRETS } from './app.js';
import { startSandbox } from './start.js';

const host = process.env.SANDBOX_HOST || '127.0.0.1';
const port = Number(process.env.SANDBOX_PORT || 4010);
const secrets = process.env.SANDBOX_SECRETS?.split(',').map((secret) => secret.trim()).filter(Boolean) ?? DEFAULT_SECRETS;
const publicUrl = process.env.SANDBOX_PUBLIC_URL;

const problems = [
  ...(Number.isInteger(port) && port >= 0 && port <= 65_535 ? [] : [`SANDBOX_PORT must be a port number, not ${process.env.SANDBOX_PORT}`]),
  ...secrets.filter((secret) => !/^sk_(test|live)_./.test(secret)).map(() => 'SANDBOX_SECRETS must each start with sk_test_ or sk_live_'),
];
if (problems.length > 0) fail(problems.join('\n'));

try {
  const sandbox = await startSandbox({ host, port, secrets, ...(publicUrl && { publicUrl }) });
  console.log(`Sandbox on ${sandbox.url}\nSecrets: ${secrets.join(', ')}`);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void sandbox.close().then(() => process.exit(0)));
  }
} catch (error) {
  if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
  fail(`Port ${port} is in use; set SANDBOX_PORT to another one.`);
}

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}
