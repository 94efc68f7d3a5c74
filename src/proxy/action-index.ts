import type { Action } from '../upstream/actions.js';

/** An action with an id and a path. */
export type Callable = Action & { id: string; path: string };
/** The action that a method and path mean, and what to put in front of the path to have the provider's own. */
export type Match = Readonly<{ action: Callable; prefix: string }>;

type Node = { literals: Map<string, Node>; patterns: { pattern: RegExp; node: Node }[]; any?: Node; actions: Map<string, Callable> };

/** A platform's actions, prepared for finding one by method and path, and by id. */
export type ActionIndex = { match(method: string, path: string): Match | undefined; byId(id: string): Callable | undefined };

/**
 * Builds the index. The most specific template wins, segment by segment from the left: literal text before a segment with a
 * parameter in it before a whole parameter. The literal segments that all templates of a platform begin with (`/gmail/v1`)
 * may be left out of a path.
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
  const prefix = shared.map((segment) => `/${segment}`).join('');

  return {
    byId: (id) => ids.get(id),
    match(method, path) {
      const segments = segmentsOf(path);
      const exact = find(root, segments, 0, method);
      if (exact) return { action: exact, prefix: '' };
      if (shared.length === 0) return undefined;
      const completed = find(root, [...shared, ...segments], 0, method);
      return completed && { action: completed, prefix };
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
  node.patterns.push({ pattern: new RegExp(`^${source}$`), node: child });
  return child;
}

function sharedPrefix(paths: readonly string[][]): string[] {
  const [first, ...others] = paths;
  if (!first || others.length === 0) return [];
  let length = 0;
  while (length < first.length - 1 && !first[length]!.includes('{{') && others.every((path) => path.length > length + 1 && path[length] === first[length])) length += 1;
  return first.slice(0, length);
}

function newNode(): Node {
  return { literals: new Map(), patterns: [], actions: new Map() };
}

function segmentsOf(path: string): string[] {
  return path.slice(1).split('/');
}
