import { routed } from './route.js';

const HOUR_MS = 3_600_000;

function event(id: string, summary: string, inHours: number) {
  const start = Math.ceil(Date.now() / HOUR_MS) * HOUR_MS + inHours * HOUR_MS;
  const at = (time: number) => ({ dateTime: new Date(time).toISOString(), timeZone: 'UTC' });
  return { kind: 'calendar#event', id, status: 'confirmed', summary, start: at(start), end: at(start + HOUR_MS) };
}

/** A little of Google Calendar's API. */
export const googleCalendar = routed([
  {
    method: 'GET',
    path: /calendarList$/,
    answer: () => ({
      kind: 'calendar#calendarList',
      items: [{ id: 'primary', summary: 'Work', primary: true, timeZone: 'UTC', accessRole: 'owner' }],
    }),
  },
  {
    method: 'GET',
    path: /calendars\/[^/]+\/events$/,
    answer: () => ({
      kind: 'calendar#events',
      items: [event('evt1', 'Design review', 1), event('evt2', 'Customer call: Northwind', 4), event('evt3', 'Retro', 26)],
    }),
  },
]);
