import t from 'tap';
import { startSandbox } from '../../sandbox/start.js';
import { createPostgresDatabase, postgresUrl } from '../helpers/database.js';
import { startGatewayProcess } from '../helpers/gateway-process.js';
import { startReceiver, until } from '../helpers/receiver.js';
import { seed } from '../helpers/sandbox.js';

t.setTimeout(300_000);
const skip = postgresUrl ? false : 'needs TEST_DATABASE_URL: the second process takes over the first one\'s Postgres';

t.test('a process killed after the commit and before the delivery: the next one delivers', { skip }, async (t) => {
  const sandbox = await startSandbox();
  t.teardown(() => sandbox.close());
  const databaseUrl = await createPostgresDatabase(t);
  // It takes the first requests and never answers, so that no delivery can have ended when the process dies.
  const receiver = await startReceiver(t, () => {});
  const env = { WEBHOOK_ALLOW_PRIVATE: 'true' };

  const first = await startGatewayProcess(t, databaseUrl, sandbox.url, env);
  const { json: webhook } = await first.request('POST', '/webhooks', { url: receiver.url });
  const { key } = await seed(sandbox.url, { identity: 'ada', platform: 'gmail' });
  const { json: connection } = await first.request('POST', '/connections', { key, platform: 'gmail' }, { 'x-user-id': 'ada' });
  await first.request('PATCH', `/connections/${connection.id}`, { name: 'after' });
  await first.end('SIGKILL');

  const lost = receiver.received.length;
  receiver.answer = (_, response) => void response.writeHead(204).end();
  const second = await startGatewayProcess(t, databaseUrl, sandbox.url, env);
  // The lease of a delivery that was being sent ends a few seconds after its process.
  await until(() => receiver.received.length >= lost + 2, 60_000);
  t.same(receiver.received.slice(lost).map(({ event }) => event.type), ['connection.created', 'connection.updated'], 'both, in order');
  await until(async () => {
    const { json } = await second.request('GET', `/webhooks/${webhook.id}/deliveries?status=delivered`);
    return json.rows.length === 2;
  });
  t.pass('and both are written down as delivered');
});
