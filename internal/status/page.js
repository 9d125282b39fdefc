'use strict';
// Each second the page is asked for again, and what has changed is put in its place:
// what is open stays open, what is focused stays focused.
(() => {
  const morph = (old, now) => {
    if (old.nodeType !== now.nodeType || old.nodeName !== now.nodeName) {
      old.replaceWith(now);
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== now.nodeValue) old.nodeValue = now.nodeValue;
      return;
    }
    for (const {name, value} of [...now.attributes]) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    for (const {name} of [...old.attributes]) {
      if (!now.hasAttribute(name) && name !== 'open') old.removeAttribute(name);
    }
    const is = [...old.childNodes], shall = [...now.childNodes];
    shall.forEach((child, i) => i < is.length ? morph(is[i], child) : old.append(child));
    is.slice(shall.length).forEach((child) => child.remove());
  };

  let seen = new Date();
  const look = async () => {
    try {
      const answer = await fetch(location.pathname, {cache: 'no-store', signal: AbortSignal.timeout(5000)});
      if (!answer.ok) throw new Error(answer.statusText);
      const now = new DOMParser().parseFromString(await answer.text(), 'text/html');
      morph(document.querySelector('main'), now.querySelector('main'));
      document.title = now.title;
      document.body.classList.remove('gone');
      seen = new Date();
    } catch (e) {
      const gone = document.getElementById('gone');
      const says = `No answer since ${seen.toISOString().slice(11, 19)} UTC: what is below is old.`;
      if (gone.textContent !== says) gone.textContent = says;
      gone.hidden = false;
      document.body.classList.add('gone');
      document.title = '‼ orderlog: no answer';
    }
  };
  const again = async () => {
    if (!document.hidden) await look();
    setTimeout(again, 1000);
  };
  document.addEventListener('visibilitychange', () => { if (!document.hidden) look(); });
  setTimeout(again, 1000);
})();
