import t from 'tap';
import { createCache } from '../src/cache.js';

function setUp() {
  let time = 0;
  const loads: { key: string; done: (value: string | undefined) => void; fail: (error: Error) => void }[] = [];
  const cache = createCache<string, string | undefined>({
    load: (key) => new Promise((done, fail) => loads.push({ key, done, fail })), keep: (value) => value !== undefined, maxEntries: 2, maxAgeMs: 100, now: () => time,
  });
  const get = (key: string) => cache.get(key, key);
  const fill = async (key: string, value: string | undefined) => {
    const promise = get(key);
    loads.shift()!.done(value);
    await promise;
  };
  return { cache, loads, get, fill, advance: (ms: number) => void (time += ms) };
}

t.test('a warm key is answered at once, and one look-up serves everyone who asks meanwhile', async (t) => {
  const { get, loads, cache } = setUp();
  const both = [get('a'), get('a')];
  t.equal(loads.length, 1);
  loads[0]!.done('one');
  t.strictSame(await Promise.all(both), ['one', 'one']);
  t.equal(get('a'), 'one');
  t.strictSame(cache.counts, { hits: 1, misses: 2 });
});

t.test('renewed in the background at half its time, never given past it', async (t) => {
  const { get, fill, loads, advance } = setUp();
  await fill('a', 'old');
  advance(60);
  t.equal(get('a'), 'old');
  t.equal(loads.length, 1);
  loads.shift()!.fail(new Error('database away'));
  await new Promise(setImmediate);
  advance(40);
  const waits = get('a');
  t.type(waits, Promise);
  loads.shift()!.done('new');
  t.equal(await waits, 'new');
});

t.test('what is forgotten is looked up again, also when the look-up was under way', async (t) => {
  const { get, fill, loads, cache } = setUp();
  await fill('a', 'x');
  await fill('b', 'y');
  cache.forget((value) => value === 'x');
  t.equal(get('b'), 'y');
  const first = get('a');
  cache.forget();
  loads.shift()!.done('stale');
  t.equal(await first, 'stale');
  t.type(get('a'), Promise);
  t.equal(loads.length, 1);
});

t.test('bounded, and nothing is kept of what was not found', async (t) => {
  const { get, fill, loads } = setUp();
  await fill('a', undefined);
  t.type(get('a'), Promise);
  loads.shift()!.done('1');
  await new Promise(setImmediate);
  await fill('b', '2');
  await fill('c', '3');
  t.type(get('a'), Promise);
  t.equal(get('c'), '3');
});
