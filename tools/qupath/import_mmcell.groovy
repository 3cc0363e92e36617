/*
 * Imports what `mmcell predict --save geojson` found into the image that is open in QuPath.
 *
 * Script editor: Run, or Run > Run for project for all images of the project.
 * Command line:  QuPath script -s -p project.qpproj -a OUT import_mmcell.groovy
 *
 * An image <name>.<suffix> gets <name>.geojson or <name>.geojson.gz. Objects of the same numbers that
 * an earlier run of this script imported are replaced, all others stay: delete the detections first
 * where a new result has fewer. QuPath 0.5 or later.
 */
import qupath.lib.common.GeneralTools
import qupath.lib.io.PathIO

// The folder given to `mmcell predict --out`, or one that holds the files; empty: the image's own.
def FOLDER = ''

def given = binding.hasVariable('args') && args ? args[0] : FOLDER
def uris = getCurrentServer().getURIs()
def image = uris ? GeneralTools.toPath(uris[0])?.toFile() : null
def folder = given ? new File(given) : image?.getParentFile()
if (folder == null)
    throw new IllegalArgumentException('The image is no file on this machine: set FOLDER at the top of the script')

// What QuPath calls the image may have been changed; the file has not.
def fileName = image?.getName() ?: getCurrentServer().getMetadata().getName()
def dot = fileName.lastIndexOf('.')
def name = dot > 0 ? fileName.substring(0, dot) : fileName
if (name.toLowerCase().endsWith('.ome')) // a.ome.tif gets a.geojson
    name = name.substring(0, name.length() - 4)

def places = [folder, new File(folder, 'geojson')]
def found = places.collectMany { place -> ['.geojson', '.geojson.gz'].collect { new File(place, name + it) } }
        .find { it.isFile() }
if (found == null) {
    println "${name}: no ${name}.geojson in ${places.join(' or ')}"
    return
}

def objects = PathIO.readObjects(found)
// The ids of objects are the same in every export of the same result.
def ids = objects.collect { it.getID() } as Set
def former = getDetectionObjects().findAll { it.getID() in ids }
removeObjects(former, true)
addObjects(objects)
println "${name}: ${objects.size()} objects from ${found}" + (former ? ", ${former.size()} replaced" : '')
