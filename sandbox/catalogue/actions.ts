import { stableId } from '../ids.js';
import { ACTION_DATA } from './action-data.js';

/** An action of a platform, as the knowledge lists it. */
export interface Action {
  id: string;
  platform: string;
  title: string;
  key: string;
  modelName: string;
  method: string;
  /** With `{{name}}` for every path parameter. */
  path: string;
  baseUrl: string;
  /** `custom`: the action takes its credential from `connectionKey` in the JSON body. */
  tags: string[];
}

/** Every action of the catalogue. */
export const ACTIONS: readonly Action[] = Object.entries(ACTION_DATA).flatMap(([platform, { baseUrl, actions }]) =>
  actions.map(([title, method, path, modelName, tags = []]) => ({
    id: stableId('conn_mod_def', `${platform} ${method} ${path}`),
    platform,
    title,
    key: `api::${platform}::v1::${modelName}::${title.toLowerCase().replaceAll(' ', '_')}`,
    modelName,
    method,
    path,
    baseUrl,
    tags,
  })),
);

const byId = new Map(ACTIONS.map((action) => [action.id, action]));

/** The action of an id; undefined for an unknown one. */
export function findAction(id: string): Action | undefined {
  return byId.get(id);
}

/** The custom action that a call in the guide's form means; undefined where there is none. */
export function findCustomAction(platform: string, method: string, path: string): Action | undefined {
  return ACTIONS.find((action) => isCustom(action) && action.platform === platform && action.method === method && [path, `/${platform}${path}`].includes(action.path));
}

/** Whether the action takes its credential from the body. */
export function isCustom({ tags }: Action): boolean {
  return tags.includes('custom');
}
