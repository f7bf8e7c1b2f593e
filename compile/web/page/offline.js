// A service worker: what was fetched once is there without a network. The network comes first, so that a new version
// is never held back; only this folder's own files are kept.
const NAME = 'repghost-demo';

self.addEventListener('install', (event) => event.waitUntil(
  caches.open(NAME).then(async (cache) => cache.addAll((await (await fetch('offline.json')).json()).files)).then(() => self.skipWaiting())));
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));
self.addEventListener('fetch', (event) => {
  const { request } = event;
  if (request.method !== 'GET' || !request.url.startsWith(self.registration.scope)) return;
  event.respondWith(fetch(request).then(async (response) => {
    if (response.ok) {
      const copy = response.clone();
      event.waitUntil(caches.open(NAME).then((cache) => cache.put(request, copy)).catch(() => {}));
    }
    return response;
  }, async (error) => {
    const kept = await caches.match(request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }));
});
