import { setTimeout as wait } from 'node:timers/promises';
import t from 'tap';
import { openDatabase } from '../../src/persistence/database.js';
import { localInvalidations } from '../../src/persistence/invalidations.js';
import { createPostgresDatabase, postgresUrl } from '../helpers/database.js';

t.test('news reaches the subscribers of its topic in this process at once', async (t) => {
  const bus = localInvalidations();
  const heard: unknown[] = [];
  bus.subscribe('keys', (news) => heard.push(news));
  bus.subscribe('keys', (news) => heard.push(news));
  bus.subscribe('other', () => t.fail('not its topic'));
  await bus.publish('keys', 'a b');
  t.strictSame(heard, ['a b', 'a b']);
});

t.test('on Postgres, news reaches other replicas; a lost listener says so, comes back and hears again', { skip: !postgresUrl && 'needs TEST_DATABASE_URL' }, async (t) => {
  const url = await createPostgresDatabase(t);
  const [one, other] = await Promise.all([1, 2].map(() => openDatabase({ url, poolSize: 2, dataDir: undefined })));
  t.teardown(() => Promise.all([one!.close(), other!.close()]));
  const heard: unknown[] = [];
  const hears = async (what: unknown) => {
    for (let i = 0; i < 100 && !heard.includes(what); i += 1) await wait(20);
    t.ok(heard.includes(what), `heard ${what}`);
    heard.length = 0;
  };
  other!.invalidations.subscribe('keys', (news) => heard.push(news));
  other!.invalidations.start();
  await hears(undefined);
  t.ok(other!.invalidations.connected());
  await one!.invalidations.publish('keys', 'first');
  await hears('first');

  await one!.prisma.$queryRawUnsafe('SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity WHERE application_name = \'authkit-gateway listener\' AND datname = current_database()');
  await hears(undefined);
  for (let i = 0; i < 200 && !other!.invalidations.connected(); i += 1) await wait(20);
  await one!.invalidations.publish('keys', 'second');
  await hears('second');
});
