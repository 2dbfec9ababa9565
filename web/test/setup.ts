// What the modules look at when they are loaded.
Object.assign(globalThis, { location: { hash: "" }, window: globalThis });
