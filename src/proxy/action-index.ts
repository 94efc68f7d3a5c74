import type { Action } from '../upstream/actions.js';

/** An action with an id and a path. */
export type Callable = Action & { id: string; path: string };
/** The action that a method and path mean, the path in the row's own form, and how the caller's differed from it. */
export type Match = Readonly<{ action: Callable; path: string; how: string }>;

/** A platform's actions, prepared for finding one by method and path, and by id. */
export type ActionIndex = {
  match(method: string, path: string): Match | undefined;
  byId(id: string): Callable | undefined;
  /** The path in the action's own form, where it is one of the action's; else as it is. */
  ownPath(action: Callable, path: string): string;
};

/** The texts around a segment's parameters, and what follows on the segments that fit. */
type Pattern = { texts: readonly string[]; literal: number; node: Node };
/** `base`: how many segments of the way to an action are its base URL's. */
type End = { action: Callable; base: number };
type Node = { literals: Map<string, Node>; patterns: Pattern[]; any?: Node; ends: Map<string, End> };

const parameter = /\{\{[^{}]*\}\}|\{[^{}]*\}/;

/**
 * Builds the index. A path means an action when it is the action's own path, or that behind the path of the action's base URL.
 * The most specific template wins, segment by segment from the left: literal text before a segment with a parameter in it, of
 * these the one with more literal text first, before a whole parameter. Leading literal segments that more than half of a
 * platform's templates begin with (`/gmail/v1`) may be left out of a path: all of them or the first few, as long as the path then
 * goes on with literal text of the template. A path that means nothing so is read again with `/` for each `%2F`, as clients
 * write a path that is one parameter to them.
 */
export function indexActions(actions: readonly Action[]): ActionIndex {
  const callable = actions.filter((action): action is Callable => action.id !== undefined && action.path !== undefined);
  const ids = new Map<string, Callable>();
  for (const action of callable) if (!ids.has(action.id)) ids.set(action.id, action);
  const own = newNode();
  const full = newNode();
  for (const action of callable) {
    insert(own, segmentsOf(action.path), action, 0);
    insert(full, fullTemplate(action), action, baseSegments(action).length);
  }
  const based = callable.some((action) => baseSegments(action).length > 0);
  const shared = sharedPrefix(callable.map(fullTemplate));

  const lookUp = (method: string, path: string): Match | undefined => {
    const segments = segmentsOf(path);
    const direct = find(own, segments, 0, method);
    const behind = based ? find(full, segments, 0, method) : undefined;
    if (behind && behind.base > 0 && (!direct || isMoreSpecific(fullTemplate(behind.action), segmentsOf(direct.action.path)))) {
      return { action: behind.action, path: pathOf(segments.slice(behind.base)), how: ', behind the path of its base URL' };
    }
    if (direct) return { action: direct.action, path, how: '' };
    for (let length = shared.length; length > 0; length -= 1) {
      const left = shared.slice(0, length);
      const completed = find(full, [...left, ...segments], 0, method);
      // Else nearly any path would do for a template that goes on with a parameter.
      if (completed && fullTemplate(completed.action)[length] === segments[0]) {
        return { action: completed.action, path: pathOf([...left, ...segments].slice(completed.base)), how: `, without its leading ${pathOf(left)}` };
      }
    }
    return undefined;
  };

  return {
    byId: (id) => ids.get(id),
    match(method, path) {
      const found = lookUp(method, path);
      if (found || !encodedSlash.test(path)) return found;
      const decoded = lookUp(method, withSlashes(path));
      return decoded && { ...decoded, how: `${decoded.how}, %2F read as /` };
    },
    ownPath(action, path) {
      const template = segmentsOf(action.path);
      const base = baseSegments(action);
      for (const candidate of encodedSlash.test(path) ? [path, withSlashes(path)] : [path]) {
        const segments = segmentsOf(candidate);
        if (fits(template, segments)) return candidate;
        if (base.length > 0 && fits([...base, ...template], segments)) return pathOf(segments.slice(base.length));
      }
      return path;
    },
  };
}

const encodedSlash = /%2f/i;

function withSlashes(path: string): string {
  return path.replace(/%2f/gi, '/');
}

function insert(root: Node, template: readonly string[], action: Callable, base: number): void {
  let node = root;
  for (const segment of template) node = childFor(node, segment);
  if (!node.ends.has(action.method)) node.ends.set(action.method, { action, base });
}

// Each node is at one depth, so that it is visited once at most.
function find(node: Node, segments: readonly string[], at: number, method: string): End | undefined {
  const segment = segments[at];
  if (segment === undefined) return node.ends.get(method);
  const literal = node.literals.get(segment);
  const found = literal && find(literal, segments, at + 1, method);
  if (found || segment === '') return found;
  for (const { texts, node: next } of node.patterns) {
    const through = surrounds(texts, segment) ? find(next, segments, at + 1, method) : undefined;
    if (through) return through;
  }
  return node.any && find(node.any, segments, at + 1, method);
}

function childFor(node: Node, segment: string): Node {
  const texts = segment.split(parameter);
  if (texts.length === 1) {
    const known = node.literals.get(segment) ?? newNode();
    node.literals.set(segment, known);
    return known;
  }
  if (texts.length === 2 && texts.join('') === '') return (node.any ??= newNode());
  const known = node.patterns.find((pattern) => pattern.texts.length === texts.length && pattern.texts.every((text, i) => text === texts[i]));
  if (known) return known.node;
  const child = newNode();
  node.patterns.push({ texts, literal: texts.join('').length, node: child });
  node.patterns.sort((one, other) => other.literal - one.literal);
  return child;
}

/** Whether a segment is these texts with something between each two: the first place for each will do, so that none is tried twice. */
function surrounds(texts: readonly string[], segment: string): boolean {
  const last = texts[texts.length - 1]!;
  if (!segment.startsWith(texts[0]!) || !segment.endsWith(last)) return false;
  const end = segment.length - last.length;
  let at = texts[0]!.length;
  for (let i = 1; i < texts.length - 1; i += 1) {
    const found = segment.indexOf(texts[i]!, at + 1);
    if (found < 0) return false;
    at = found + texts[i]!.length;
  }
  return at < end;
}

function fits(template: readonly string[], segments: readonly string[]): boolean {
  return template.length === segments.length && template.every((part, i) => {
    const texts = part.split(parameter);
    return texts.length === 1 ? part === segments[i] : segments[i] !== '' && surrounds(texts, segments[i]!);
  });
}

/** Whether the first differing segment is literal in `one` and not in `other`, or at least partly so. */
function isMoreSpecific(one: readonly string[], other: readonly string[]): boolean {
  for (const [i, segment] of one.entries()) {
    const difference = rank(segment) - rank(other[i] ?? segment);
    if (difference !== 0) return difference > 0;
  }
  return false;
}

function rank(segment: string): number {
  const texts = segment.split(parameter);
  return texts.length === 1 ? 2 : texts.join('') === '' ? 0 : 1;
}

/** What more than half of the templates begin with; never the whole of one. */
function sharedPrefix(templates: readonly string[][]): string[] {
  const shared: string[] = [];
  for (let those = templates; ;) {
    const counts = new Map<string, number>();
    const at = shared.length;
    for (const template of those) {
      if (template.length > at + 1 && !parameter.test(template[at]!)) counts.set(template[at]!, (counts.get(template[at]!) ?? 0) + 1);
    }
    const common = [...counts].find(([, count]) => count > templates.length / 2)?.[0];
    if (common === undefined) return shared;
    shared.push(common);
    those = those.filter((template) => template[at] === common);
  }
}

function newNode(): Node {
  return { literals: new Map(), patterns: [], ends: new Map() };
}

function fullTemplate(action: Callable): string[] {
  return [...baseSegments(action), ...segmentsOf(action.path)];
}

/** The segments of a base URL's path. It may hold parameters, in its host as well, which URL parsers refuse. */
function baseSegments({ baseUrl = '' }: Action): string[] {
  const path = /^https?:\/\/[^/?#]*(\/[^?#]*)/i.exec(baseUrl)?.[1]?.replace(/\/+$/, '') ?? '';
  return path === '' ? [] : segmentsOf(path);
}

function segmentsOf(path: string): string[] {
  return path.slice(1).split('/');
}

function pathOf(segments: readonly string[]): string {
  return `/${segments.join('/')}`;
}
