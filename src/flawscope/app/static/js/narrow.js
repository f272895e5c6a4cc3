// Stands right behind a <details> and runs before anything below it is laid out: on a phone it begins closed.
if (window.innerWidth < 760) document.currentScript.previousElementSibling.removeAttribute("open");
