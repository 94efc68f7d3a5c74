import t from 'tap';
import { BodyScan, couldMention } from '../../src/proxy/body-scan.js';
import { isConnectionKey, namesChosen } from '../../src/proxy/connection-key-member.js';
import { withConnectionKey } from '../../src/proxy/custom-body.js';
import { seeded } from '../helpers/random.js';

const chosen = { id: '0b0e7a51-6f1c-4e51-9d53-2f1f4f7a9c11', key: 'test::gmail::default::aa|mary' };
const random = seeded(20261127);
const space = (): string => random.pick(['', '', '', ' ', '\n', '\t ', '\r\n']);
const names = ['connectionKey', 'connection\\u004bey', 'CONNECTIONKEY', 'connectionKeys', 'a', '', '\\"connectionKey', 'connectionKey\\\\', 'ë', '\\ud800'];
const texts = [chosen.key, chosen.id, 'test::gmail::default::bb|bob', '', '\\"', '\\\\', ',\\"connectionKey\\":1', '}', '\\\\\\"{', 'connectionKey', 'ë'.repeat(40), 'x'.repeat(300)];

/** A JSON value as text, white space, escapes and repeated members included. */
function value(depth: number): string {
  if (depth > 0 && random.chance(0.4)) return random.chance(0.5) ? object(depth - 1) : `[${space()}${Array.from({ length: random.below(3) }, () => value(depth - 1)).join(`${space()},`)}${space()}]`;
  return random.chance(0.6) ? `"${random.pick(texts)}"` : random.pick(['1', '-2.5e+3', 'true', 'null', '{}', '[]']);
}

function object(depth: number): string {
  const members = Array.from({ length: random.below(4) }, () => `${space()}"${random.pick(names)}"${space()}:${space()}${value(depth)}${space()}`);
  return `{${members.join(',')}${members.length === 0 ? space() : ''}}`;
}

/** The outer members, repeated ones included: a reviver would see only the last of them. */
function outerMembers(text: string): [string, unknown][] {
  const found: [string, unknown][] = [];
  let depth = 0;
  let start = 1;
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\],]/gs)) {
    if (depth === 1 && (token === ',' || token === '}')) {
      const member = text.slice(start, index);
      if (member.trim() !== '') found.push(...Object.entries(JSON.parse(`{${member}}`) as object));
      start = index + 1;
    }
    if (token === '{' || token === '[') depth += 1;
    if (token === '}' || token === ']') depth -= 1;
  }
  return found;
}

function scan(text: string): boolean[] {
  const bytes = Buffer.from(text);
  const inChunks = new BodyScan(chosen, [], false);
  let foreign = false;
  for (let at = 0; at < bytes.length;) {
    const next = at + 1 + random.below(random.pick([2, 9, 400]));
    foreign ||= inChunks.write(bytes.subarray(at, next));
    at = next;
  }
  return [couldMention(bytes, [], false) && new BodyScan(chosen, [], false).whole(bytes), foreign || inChunks.end()];
}

t.test('of any JSON object, whole or in any chunks, the scan finds what a parser finds', async (t) => {
  let refused = 0;
  for (let i = 0; i < 20_000; i += 1) {
    const text = space() + object(4) + space();
    const expected = outerMembers(text.trim()).some(([name, found]) => isConnectionKey(name) && !namesChosen(found, chosen));
    if (expected) refused += 1;
    const found = scan(text);
    if (found.some((foreign) => foreign !== expected)) t.fail(`${found.join()} for ${JSON.stringify(text)}`);
    if (expected) {
      t.throws(() => withConnectionKey(Buffer.from(text), chosen), { code: 'action_mismatch' });
    } else {
      const completed = outerMembers(withConnectionKey(Buffer.from(text), chosen).toString());
      const others = outerMembers(text.trim()).filter(([name]) => !isConnectionKey(name));
      if (JSON.stringify(completed) !== JSON.stringify([['connectionKey', chosen.key], ...others])) t.fail(JSON.stringify(text));
    }
  }
  t.ok(refused > 2_000 && refused < 18_000, `${refused} of 20,000`);
});

t.test('what is cut off or broken is refused when it mentions the name, and passes when it does not', async (t) => {
  for (let i = 0; i < 5_000; i += 1) {
    const text = `{"a":${value(3)},${object(3).slice(1)}`;
    const cut = random.chance(0.5) ? text.slice(0, 1 + random.below(text.length - 1)) : `${text.slice(0, 6)}'${text.slice(6)}`;
    const mentions = /connectionkey/i.test(cut.replaceAll('\\u004b', 'K'));
    const found = scan(cut);
    if (found.some((foreign) => foreign && !mentions)) t.fail(`${found.join()} for ${JSON.stringify(cut)}`);
  }
  t.pass();
});
