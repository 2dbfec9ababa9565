import { defineConfig } from "vite";

// Three files with fixed names: wahook answers with ETags, so that a name needs no hash, and the addresses are
// relative, so that a proxy may put the page under a path.
export default defineConfig({
  base: "./",
  build: {
    outDir: "dist",
    emptyOutDir: true,
    target: "es2023",
    cssCodeSplit: false,
    modulePreload: false,
    assetsInlineLimit: 0,
    rolldownOptions: {
      output: {
        entryFileNames: "page/app.js",
        assetFileNames: (asset) => (asset.names[0]?.endsWith(".css") ? "page/app.css" : "page/[name][extname]"),
      },
    },
  },
});
