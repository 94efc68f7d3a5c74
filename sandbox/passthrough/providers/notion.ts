import { routed } from './route.js';

function page(id: string, title: string) {
  return { object: 'page', id, url: `https://notion.example/${id}`, properties: { title: { type: 'title', title: [{ plain_text: title }] } } };
}

/** A little of Notion's API. */
export const notion = routed([
  {
    method: 'POST',
    path: /\/search$/,
    answer: () => ({
      object: 'list',
      results: [page('59833787-2cf9-4fdf-8782-e53db20768a5', 'Roadmap'), page('7c6b1c95-de50-45ca-94e6-af1d9fd295ab', 'Onboarding')],
      has_more: false,
      next_cursor: null,
    }),
  },
  {
    method: 'GET',
    path: /\/users$/,
    answer: () => ({
      object: 'list',
      results: [{ object: 'user', id: 'd40e767c-d7af-4b18-a86d-55c61f1e39a4', name: 'Ada Park', type: 'person' }],
      has_more: false,
    }),
  },
]);
