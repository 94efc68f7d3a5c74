import type { Action } from '../upstream/actions.js';

/** An action with an id and a path. */
export type Callable = Action & { id: string; path: string };
/** The action that a method and path mean, and what to put in front of the path to have the provider's own. */
export type Match = Readonly<{ action: Callable; prefix: string }>;

/** `literal`: how many characters of a segment with parameters in it are given. */
type Pattern = { pattern: RegExp; literal: number; node: Node };
type Node = { literals: Map<string, Node>; patterns: Pattern[]; any?: Node; actions: Map<string, Callable> };

/** A platform's actions, prepared for finding one by method and path, and by id. */
export type ActionIndex = { match(method: string, path: string): Match | undefined; byId(id: string): Callable | undefined };

/**
 * Builds the index. The most specific template wins, segment by segment from the left: literal text before a segment with a
 * parameter in it, of these the one with more literal text first, before a whole parameter. Leading literal segments that
 * more than half of a platform's templates begin with (`/gmail/v1`) may be left out of a path: all of them or the first
 * few, as long as the path then goes on with literal text of the template.
 */
export function indexActions(actions: readonly Action[]): ActionIndex {
  const callable = actions.filter((action): action is Callable => action.id !== undefined && action.path !== undefined);
  const root = newNode();
  const ids = new Map<string, Callable>();
  for (const action of callable) {
    if (!ids.has(action.id)) ids.set(action.id, action);
    let node = root;
    for (const segment of segmentsOf(action.path)) node = childFor(node, segment);
    if (!node.actions.has(action.method)) node.actions.set(action.method, action);
  }
  const shared = sharedPrefix(callable.map(({ path }) => segmentsOf(path)));

  return {
    byId: (id) => ids.get(id),
    match(method, path) {
      const segments = segmentsOf(path);
      const exact = find(root, segments, 0, method);
      if (exact) return { action: exact, prefix: '' };
      for (let length = shared.length; length > 0; length -= 1) {
        const left = shared.slice(0, length);
        const completed = find(root, [...left, ...segments], 0, method);
        // Else nearly any path would do for a template that goes on with a parameter.
        if (completed && segmentsOf(completed.path)[length] === segments[0]) return { action: completed, prefix: `/${left.join('/')}` };
      }
      return undefined;
    },
  };
}

function find(node: Node, segments: readonly string[], at: number, method: string): Callable | undefined {
  const segment = segments[at];
  if (segment === undefined) return node.actions.get(method);
  const literal = node.literals.get(segment);
  const found = literal && find(literal, segments, at + 1, method);
  if (found || segment === '') return found;
  for (const { pattern, node: next } of node.patterns) {
    const through = pattern.test(segment) ? find(next, segments, at + 1, method) : undefined;
    if (through) return through;
  }
  return node.any && find(node.any, segments, at + 1, method);
}

function childFor(node: Node, segment: string): Node {
  if (/^\{\{[^{}]*\}\}$/.test(segment)) return (node.any ??= newNode());
  if (!segment.includes('{{')) {
    const known = node.literals.get(segment) ?? newNode();
    node.literals.set(segment, known);
    return known;
  }
  const source = segment.split(/\{\{[^{}]*\}\}/).map((text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('.+');
  const known = node.patterns.find(({ pattern }) => pattern.source === `^${source}$`);
  if (known) return known.node;
  const child = newNode();
  node.patterns.push({ pattern: new RegExp(`^${source}$`), literal: segment.replace(/\{\{[^{}]*\}\}/g, '').length, node: child });
  node.patterns.sort((one, other) => other.literal - one.literal);
  return child;
}

/** What more than half of the paths begin with; never the whole of one. */
function sharedPrefix(paths: readonly string[][]): string[] {
  const shared: string[] = [];
  for (let those = paths; ;) {
    const counts = new Map<string, number>();
    const at = shared.length;
    for (const path of those) {
      if (path.length > at + 1 && !path[at]!.includes('{{')) counts.set(path[at]!, (counts.get(path[at]!) ?? 0) + 1);
    }
    const common = [...counts].find(([, count]) => count > paths.length / 2)?.[0];
    if (common === undefined) return shared;
    shared.push(common);
    those = those.filter((path) => path[at] === common);
  }
}

function newNode(): Node {
  return { literals: new Map(), patterns: [], actions: new Map() };
}

function segmentsOf(path: string): string[] {
  return path.slice(1).split('/');
}
